using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param tier = 'dev'
param authIssuer = readEnvironmentVariable('HUB_AUTH_ISSUER', '')
param sqlAdministratorName = readEnvironmentVariable('DEPLOY_SQL_ADMIN_NAME', '')
param sqlAdministratorObjectId = readEnvironmentVariable('DEPLOY_SQL_ADMIN_OBJECT_ID', '')
param deployerAddress = readEnvironmentVariable('DEPLOY_ADDRESS', '')
